/* Logs text that is not UTF-8, at an unknown level, for an unknown instance. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  static const uint8_t odd[] = {0xff, 0, 0xfe, '\n', 0x1b, '[', '2', 'J'};
  host.log(99, 99, (tether_slice){odd, sizeof odd}, (tether_slice){odd, sizeof odd});
  host.log(0, 0, (tether_slice){NULL, 0}, (tether_slice){NULL, 0});
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
