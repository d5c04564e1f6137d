/* Answers Describe with an empty description. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (is(request, DESCRIBE)) return answer(call, DESCRIBE, (bytes){0});
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
