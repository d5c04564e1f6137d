/* Crashes when a stream is closed. */
#include "base.h"

static void broken_stream_close(uint64_t instance, uint64_t stream) {
  (void)instance, (void)stream;
  crash();
}
#define STREAM_CLOSE broken_stream_close
#include "entry.h"
