/* Answers with bytes that are not protobuf. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  (void)instance;
  bytes it = {0};
  put_text(&it, 31, "and then");
  it.len -= 3;
  host.complete(call, buffer(it));
}
#define CALL broken_call
#include "entry.h"
