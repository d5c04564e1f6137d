/* Changes the working directory, the umask, the environment and the locale. */
#include "base.h"

#include <locale.h>
#include <sys/stat.h>

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (chdir("/") == 0) umask(0777);
  clearenv();
  setenv("TMPDIR", "/nowhere", 1);
  setlocale(LC_ALL, "C");
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
