/* Answers with text that is not UTF-8. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  (void)instance;
  bytes it = {0}, object = {0};
  put_text(&object, 1, "\xff\xfe");
  put_message(&it, 1, object);
  answer(call, LIST_FIELDS, it);
}
#define CALL broken_call
#include "entry.h"
