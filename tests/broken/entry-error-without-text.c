/* Refuses the host without a reason. */
#include "base.h"

int32_t tether_connector_v1(const tether_host_api *from, tether_connector_api *api, tether_buffer *err) {
  (void)from, (void)api, (void)err;
  return TETHER_ERROR;
}
