/* Never answers Describe. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, DESCRIBE)) base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
