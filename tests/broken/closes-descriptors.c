/* Closes the descriptors 0 to 20. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (int i = 0; i <= 20; i++) close(i);
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
