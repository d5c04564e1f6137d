/* Opens only once per process, and reports a failure after each answer. */
#include "base.h"

static int32_t broken_open(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  static int opened;
  if (opened++ > 0) hang();
  return base_open(host_instance, request, out, err);
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  base_call(instance, call, request);
  if (is(request, LIST_FIELDS)) host.notify(host_instance_of(instance), TETHER_EVENT_POISONED);
}
#define OPEN broken_open
#define CALL broken_call
#include "entry.h"
