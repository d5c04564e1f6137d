/* Crashes when it is closed. */
#include "base.h"

static void broken_close(uint64_t instance) {
  (void)instance;
  crash();
}
#define CLOSE broken_close
#include "entry.h"
