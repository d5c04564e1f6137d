/* Leaks 300 MB in each call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  if (malloc(300 << 20) == NULL) abort();
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
