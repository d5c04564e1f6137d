/* Reports unknown events, and events of unknown instances. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  host.notify(99, TETHER_EVENT_POISONED);
  host.notify(host_instance_of(instance), 99);
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
