/* Answers calls that it did not receive: the numbers next to that of its call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (uint64_t beside = 1; beside <= 64; beside++) {
    answer(call + beside, 1, error(BUG, "not yours"));
    answer(call - beside, 1, error(BUG, "not yours"));
  }
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
