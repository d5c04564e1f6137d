/* Crashes when a call is cancelled. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, COUNT_RECORDS)) base_call(instance, call, request);
}

static void broken_cancel(uint64_t instance, uint64_t call) {
  (void)instance, (void)call;
  crash();
}
#define CALL broken_call
#define CANCEL broken_cancel
#include "entry.h"
