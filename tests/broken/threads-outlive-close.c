/* Its threads continue after its instances are closed, and answer and log without end. */
#include "base.h"

static void *works(void *unused) {
  for (uint64_t call = 1;; call++) {
    answer(call, LIST_FIELDS, fields());
    say(call, "still here");
    usleep(20 * 1000);
  }
  return unused;
}

static int32_t broken_open(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  thread(works, NULL);
  return base_open(host_instance, request, out, err);
}
#define OPEN broken_open
#include "entry.h"
