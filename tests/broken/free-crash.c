/* The function that frees its answer crashes. */
#include "base.h"

static void crashes(uint8_t *data, size_t len, uintptr_t owner) {
  (void)data, (void)len, (void)owner;
  crash();
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  bytes whole = {0};
  put_message(&whole, LIST_FIELDS, fields());
  host.complete(call, (tether_buffer){whole.data, whole.len, 0, crashes});
}
#define CALL broken_call
#include "entry.h"
