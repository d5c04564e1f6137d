/* Starts a process in its own session that inherits all descriptors, and exits. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  if (fork() == 0) {
    setsid();
    sleep(20);
    _exit(0);
  }
  _exit(4);
}
#define CALL broken_call
#include "entry.h"
