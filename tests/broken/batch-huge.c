/* Sends a batch of more than 64 MiB. */
#include "base.h"

static void broken_stream_next(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request) {
  (void)instance, (void)stream, (void)request;
  bytes record = {0}, batch = {0}, payload = {.data = calloc(1, 65 << 20), .len = 65 << 20, .room = 65 << 20};
  put_text(&record, 1, "C1");
  put_message(&record, 2, payload);
  put_text(&batch, 1, "Company");
  put_message(&batch, 2, record);
  answer(call, 1, batch);
}
#define STREAM_NEXT broken_stream_next
#include "entry.h"
