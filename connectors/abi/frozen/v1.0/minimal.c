/* The smallest library that keeps the contract of v1.0: it describes itself, and answers every other call UNSUPPORTED. */
#include <string.h>

#include "tether_connector.h"

static tether_host_api host;

/* DescribeResponse{connector: "minimal", display_name: "Minimal", version: "1.0.0", objects: [{key: "Company",
   label: "Companies", role: COMPANY}]} as CallResponse.describe. */
static const char described[] = "\x12\x31"
                                "\x0a\x07minimal"
                                "\x12\x07Minimal"
                                "\x1a\x05"
                                "1.0.0"
                                "\x22\x16"
                                "\x0a\x07"
                                "Company"
                                "\x12\x09"
                                "Companies"
                                "\x18\x01";

/* CallResponse.error and StreamEvent.error: {kind: UNSUPPORTED, message: "no"}. */
static const char unsupported[] = "\x0a\x06\x08\x12\x12\x02no";
static const char no_stream[] = "\x4a\x06\x08\x12\x12\x02no";

/* Static bytes need no freeing. The table wants them writable; nobody writes. */
static void answer(uint64_t call, const char *bytes, size_t len) {
  tether_buffer buffer = {(uint8_t *)(uintptr_t)bytes, len, 0, NULL};
  host.complete(call, buffer);
}

/* Whether a CallRequest is a DescribeRequest: its fields are deadline_us (1) and the call's, 2 for describe. */
static int is_describe(tether_slice request) {
  size_t at = 0;
  if (at < request.len && request.data[at] == 0x08) {
    for (at++; at < request.len && (request.data[at] & 0x80) != 0; at++) {
    }
    at++;
  }
  return at < request.len && request.data[at] == 0x12;
}

static int32_t open_instance(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  (void)host_instance, (void)request, (void)err;
  *out = 1;
  return TETHER_OK;
}

static void call(uint64_t instance, uint64_t number, tether_slice request) {
  (void)instance;
  if (is_describe(request)) {
    answer(number, described, sizeof described - 1);
  } else {
    answer(number, unsupported, sizeof unsupported - 1);
  }
}

static void cancel(uint64_t instance, uint64_t number) { (void)instance, (void)number; }

static void stream_next(uint64_t instance, uint64_t number, uint64_t stream, tether_slice request) {
  (void)instance, (void)stream, (void)request;
  answer(number, no_stream, sizeof no_stream - 1);
}

static void stream_close(uint64_t instance, uint64_t stream) { (void)instance, (void)stream; }

static void close_instance(uint64_t instance) { (void)instance; }

int32_t tether_connector_v1(const tether_host_api *given, tether_connector_api *out_api, tether_buffer *err) {
  static const tether_connector_api api = {sizeof api,  TETHER_CONNECTOR_MINOR, open_instance, call, cancel,
                                           stream_next, stream_close,           close_instance};
  if (given->struct_size < sizeof host || out_api->struct_size < sizeof api) {
    memset(err, 0, sizeof *err);
    return TETHER_ERROR;
  }
  memcpy(&host, given, sizeof host);
  memcpy(out_api, &api, sizeof api);
  return TETHER_OK;
}
