/* The library's side of the boundary: the exported symbol, the six functions, the table of open instances. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>

#include "instance.h"

static tether_host_api host;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static struct instance *instances;
static uint64_t next_number = 1;

static void log_line(uint64_t instance, uint32_t level, const char *message) {
  if (level <= host.max_log_level) {
    static const char target[] = "tether_connector_csv";
    tether_slice from = {(const uint8_t *)target, sizeof target - 1};
    tether_slice line = {(const uint8_t *)message, strlen(message)};
    host.log(instance, level, from, line);
  }
}

static struct text text_of_slice(tether_slice slice) {
  struct text text = {(const char *)slice.data, slice.data == NULL ? 0 : slice.len};
  if (text.data == NULL) {
    text.data = "";
  }
  return text;
}

/* The instance with this number, in use until `leave`; null if there is none. */
static struct instance *enter(uint64_t number) {
  pthread_mutex_lock(&lock);
  struct instance *instance = instances;
  while (instance != NULL && instance->number != number) {
    instance = instance->next;
  }
  if (instance != NULL) {
    instance->users++;
  }
  pthread_mutex_unlock(&lock);
  return instance;
}

static void leave(struct instance *instance) {
  pthread_mutex_lock(&lock);
  instance->users--;
  pthread_cond_broadcast(&left);
  pthread_mutex_unlock(&lock);
}

static int32_t open_instance(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  struct failure why;
  struct instance *instance = instance_open(&host, host_instance, text_of_slice(request), &why);
  if (instance == NULL) {
    struct bytes bytes = {0};
    failure_write_plain(&bytes, &why);
    buffer_of(err, &bytes);
    return TETHER_ERROR;
  }
  pthread_mutex_lock(&lock);
  instance->number = next_number++;
  instance->next = instances;
  instances = instance;
  pthread_mutex_unlock(&lock);
  *out = instance->number;
  log_line(host_instance, TETHER_LOG_INFO, "the CSV connector is open");
  return TETHER_OK;
}

static void call(uint64_t instance, uint64_t number, tether_slice request) {
  struct instance *found = enter(instance);
  if (found == NULL) {
    answer_with_failure(&host, number, false, KIND_CANCELLED, "The connector is not open.");
    return;
  }
  instance_call(found, number, text_of_slice(request));
  leave(found);
}

static void cancel(uint64_t instance, uint64_t number) {
  struct instance *found = enter(instance);
  if (found != NULL) {
    instance_cancel(found, number);
    leave(found);
  }
}

/* The acknowledgement in StreamNext is ignored, because the connector stores nothing for it. */
static void stream_next(uint64_t instance, uint64_t number, uint64_t stream, tether_slice request) {
  struct instance *found = enter(instance);
  if (found == NULL) {
    answer_with_failure(&host, number, true, KIND_CANCELLED, "The connector is not open.");
    return;
  }
  (void)request;
  instance_pull(found, number, stream);
  leave(found);
}

static void stream_close(uint64_t instance, uint64_t stream) {
  struct instance *found = enter(instance);
  if (found != NULL) {
    instance_close_stream(found, stream);
    leave(found);
  }
}

static void close_instance(uint64_t number) {
  pthread_mutex_lock(&lock);
  struct instance **at = &instances;
  while (*at != NULL && (*at)->number != number) {
    at = &(*at)->next;
  }
  struct instance *instance = *at;
  if (instance != NULL) {
    *at = instance->next;
  }
  pthread_mutex_unlock(&lock);
  if (instance == NULL) {
    return;
  }
  instance_stop(instance);
  /* Calls that entered before it was removed are answered before this function returns. */
  pthread_mutex_lock(&lock);
  while (instance->users > 0) {
    pthread_cond_wait(&left, &lock);
  }
  pthread_mutex_unlock(&lock);
  instance_free(instance);
}

/* Exported even if the build hides symbols by default. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int32_t tether_connector_v1(const tether_host_api *given, tether_connector_api *out_api, tether_buffer *err) {
  static const tether_connector_api api = {TETHER_CONNECTOR_API_SIZE_0,
                                           TETHER_CONNECTOR_MINOR,
                                           open_instance,
                                           call,
                                           cancel,
                                           stream_next,
                                           stream_close,
                                           close_instance};
  if (given->struct_size < TETHER_HOST_API_SIZE_0 || out_api->struct_size < TETHER_CONNECTOR_API_SIZE_0) {
    struct failure why;
    struct bytes bytes = {0};
    fail(&why, KIND_BUG, "The host's tables are smaller than those of version 1.0.");
    failure_write_plain(&bytes, &why);
    buffer_of(err, &bytes);
    return TETHER_ERROR;
  }
  /* A second handshake comes from the same process, so the functions of the first one stay valid. */
  pthread_mutex_lock(&lock);
  if (host.struct_size == 0) {
    memcpy(&host, given, TETHER_HOST_API_SIZE_0);
  }
  pthread_mutex_unlock(&lock);
  memcpy(out_api, &api, TETHER_CONNECTOR_API_SIZE_0);
  return TETHER_OK;
}
