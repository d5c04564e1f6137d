/* Stands between a host and the dummy's library, and has one defect, chosen when it is compiled. */
#include "tether_connector.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static tether_host_api host;
static tether_connector_api dummy;
static volatile int closing;

static void forget(tether_buffer answer) {
  if (answer.free)
    answer.free(answer.data, answer.len, answer.owner);
}

static void complete(uint64_t call, tether_buffer answer) {
#ifdef DROPS_ANSWERS_AT_CLOSE
  if (closing) {
    forget(answer);
    return;
  }
#endif
#ifdef ANSWERS_TWICE
  tether_buffer nothing;
  memset(&nothing, 0, sizeof nothing);
  host.complete(call, answer);
  host.complete(call, nothing);
  return;
#endif
  host.complete(call, answer);
  (void)forget;
}

static void call(uint64_t instance, uint64_t number, tether_slice request) {
  int malformed = request.len > 0 && request.data[0] == 0xff;
  (void)malformed;
#ifdef CRASHES_ON_MALFORMED_REQUESTS
  if (malformed) {
    /* The host's runtime has a handler of its own, which lets the first one pass. */
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
#endif
#ifdef IGNORES_MALFORMED_REQUESTS
  if (malformed)
    return;
#endif
#ifdef IGNORES_UNKNOWN_INSTANCES
  if (instance == 0 || instance > 0xffffffff)
    return;
#endif
  dummy.call(instance, number, request);
}

static void close_instance(uint64_t instance) {
  closing = 1;
  dummy.close(instance);
  closing = 0;
}

int32_t tether_connector_v1(const tether_host_api *given, tether_connector_api *out, tether_buffer *err) {
  void *library = dlopen(DUMMY, RTLD_NOW | RTLD_LOCAL);
  tether_connector_entry entry = library ? (tether_connector_entry)dlsym(library, "tether_connector_v1") : 0;
  tether_host_api ours = *given;
  int32_t status;
  if (!entry)
    return TETHER_ERROR;
  host = *given;
  ours.complete = complete;
  status = entry(&ours, out, err);
  if (status != TETHER_OK)
    return status;
  dummy = *out;
  out->call = call;
  out->close = close_instance;
  return TETHER_OK;
}
