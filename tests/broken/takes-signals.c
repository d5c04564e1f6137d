/* Installs handlers for all signals, then crashes. */
#include "base.h"

static void swallow(int signal) { (void)signal; }

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  for (int number = 1; number < 32; number++) signal(number, swallow);
  if (is(request, LIST_FIELDS)) crash();
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
