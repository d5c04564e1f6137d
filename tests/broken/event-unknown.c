/* Sends an unknown event. */
#include "base.h"

static void broken_stream_next(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request) {
  (void)instance, (void)call, (void)stream, (void)request;
  answer(call, 99, (bytes){0});
}
#define STREAM_NEXT broken_stream_next
#include "entry.h"
