/* An open connector: two threads that work, their calls, the open streams. */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "stream.h"
#include "tether_connector.h"

#define WORKERS 2

/* A call or pull without an answer. It is in the instance's list until it is answered, exactly once. */
struct job {
  struct job *next;
  uint64_t call;
  bool running;
  /* The stream of a pull; null for a call. */
  struct stream *stream;
  /* For a call: its number in CallRequest, and its message. */
  uint32_t kind;
  struct text request;
  char *bytes;
  size_t bytes_len;
  int64_t deadline_us;
  atomic_bool cancelled;
  struct instance *instance;
};

struct instance {
  /* The next instance in the library's list. */
  struct instance *next;
  uint64_t number;
  uint64_t host_number;
  /* The number of functions that are using it. */
  size_t users;

  const tether_host_api *host;
  struct context context;
  pthread_mutex_t lock;
  pthread_cond_t work;
  pthread_t workers[WORKERS];
  size_t worker_count;
  bool closing;
  /* In the order of arrival. */
  struct job *jobs;
  struct stream *streams;
  uint64_t next_stream;
};

/* Opens an instance; null with the failure. */
struct instance *instance_open(const tether_host_api *host, uint64_t host_number, struct text request,
                               struct failure *why);
/* Answers every open call and ends the threads. */
void instance_stop(struct instance *instance);
/* Frees a stopped instance. */
void instance_free(struct instance *instance);

void instance_call(struct instance *instance, uint64_t call, struct text request);
void instance_cancel(struct instance *instance, uint64_t call);
void instance_pull(struct instance *instance, uint64_t call, uint64_t stream);
void instance_close_stream(struct instance *instance, uint64_t stream);

/* Passes ownership of bytes to a buffer of the boundary. */
void buffer_of(tether_buffer *buffer, struct bytes *bytes);
/* Answers a call or pull with a failure. */
void answer_with_failure(const tether_host_api *host, uint64_t call, bool pull, int kind, const char *message);

#endif
