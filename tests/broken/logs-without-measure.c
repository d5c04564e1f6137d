/* Logs 200,000 lines in a call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (int i = 0; i < 200000; i++) say(host_instance_of(instance), "again, and again, and again, and again");
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
