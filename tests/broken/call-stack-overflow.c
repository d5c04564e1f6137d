/* Overflows the stack in a call. */
#include "base.h"

static int deeper(volatile int *above) {
  volatile int here[1024];
  here[0] = *above + 1;
  return here[0] == 0 ? 0 : deeper(here) + here[0];
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  volatile int start = 0;
  answer(call, 1, error(deeper(&start), "not reached"));
}
#define CALL broken_call
#include "entry.h"
