/* Answers a call from ten threads concurrently. */
#include "base.h"

static void *answers(void *call) {
  answer((uint64_t)(uintptr_t)call, LIST_FIELDS, fields());
  return NULL;
}

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (int i = 0; i < 10; i++) thread(answers, (void *)(uintptr_t)call);
}
#define CALL broken_call
#include "entry.h"
