/* Sends rows after the end. */
#include "base.h"

static void broken_stream_next(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request) {
  (void)instance, (void)stream, (void)request;
  bytes batch = {0};
  answer(call, 8, (bytes){0});
  put_text(&batch, 1, "Company");
  put_message(&batch, 2, record(1));
  answer(call, 1, batch);
}
#define STREAM_NEXT broken_stream_next
#include "entry.h"
