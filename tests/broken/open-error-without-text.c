/* Refuses to open without a reason. */
#include "base.h"

static int32_t broken_open(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  (void)host_instance, (void)request, (void)out, (void)err;
  return TETHER_ERROR;
}
#define OPEN broken_open
#include "entry.h"
