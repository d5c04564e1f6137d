/* Frees its answer twice. */
#include "base.h"

static void twice(uint8_t *data, size_t len, uintptr_t owner) {
  uint8_t *volatile again = data;
  (void)len, (void)owner;
  free(data);
  free(again);
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  bytes whole = {0};
  put_message(&whole, LIST_FIELDS, fields());
  host.complete(call, (tether_buffer){whole.data, whole.len, 0, twice});
}
#define CALL broken_call
#include "entry.h"
