/* Never answers a pull. */
#include "base.h"

static void broken_stream_next(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request) {
  (void)instance, (void)call, (void)stream, (void)request;
}
#define STREAM_NEXT broken_stream_next
#include "entry.h"
