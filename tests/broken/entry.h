/* The exported symbol of a library of the corpus, with base.h's functions unless the file has named its own. */
#ifndef SYMBOL
#define SYMBOL tether_connector_v1
#endif
#ifndef OPEN
#define OPEN base_open
#endif
#ifndef CALL
#define CALL base_call
#endif
#ifndef CANCEL
#define CANCEL base_cancel
#endif
#ifndef STREAM_NEXT
#define STREAM_NEXT base_stream_next
#endif
#ifndef STREAM_CLOSE
#define STREAM_CLOSE base_stream_close
#endif
#ifndef CLOSE
#define CLOSE base_close
#endif
#ifndef SIZE
#define SIZE sizeof *api
#endif

int32_t SYMBOL(const tether_host_api *from, tether_connector_api *api, tether_buffer *err) {
  if (from->struct_size < sizeof host || api->struct_size < sizeof *api) {
    *err = buffer(error(CONFIGURATION, "this host is older than the library"));
    return TETHER_ERROR;
  }
  memcpy(&host, from, sizeof host);
#ifdef ENTRY
  ENTRY;
#endif
  *api = (tether_connector_api){SIZE, TETHER_CONNECTOR_MINOR, OPEN, CALL, CANCEL, STREAM_NEXT, STREAM_CLOSE, CLOSE};
  return TETHER_OK;
}
