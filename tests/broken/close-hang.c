/* Never returns from close. */
#include "base.h"

static void broken_close(uint64_t instance) {
  (void)instance;
  hang();
}
#define CLOSE broken_close
#include "entry.h"
