/* Crashes when a stream is pulled. */
#include "base.h"

static void broken_stream_next(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request) {
  (void)instance, (void)call, (void)stream, (void)request;
  crash();
}
#define STREAM_NEXT broken_stream_next
#include "entry.h"
