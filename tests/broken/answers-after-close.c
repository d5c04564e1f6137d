/* Answers a call after its instance was closed. */
#include "base.h"

static uint64_t open_call;

static void *answers(void *unused) {
  usleep(50 * 1000);
  answer(open_call, LIST_FIELDS, fields());
  return unused;
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, COUNT_RECORDS)) return base_call(instance, call, request);
  open_call = call;
}

static void broken_close(uint64_t instance) {
  base_close(instance);
  thread(answers, NULL);
}
#define CALL broken_call
#define CLOSE broken_close
#include "entry.h"
