/* Reports a failure without a cause after each answer. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  base_call(instance, call, request);
  host.notify(host_instance_of(instance), TETHER_EVENT_POISONED);
}
#define CALL broken_call
#include "entry.h"
