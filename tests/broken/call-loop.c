/* Loops forever in a call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (volatile int i = 0;; i++) {
  }
}
#define CALL broken_call
#include "entry.h"
