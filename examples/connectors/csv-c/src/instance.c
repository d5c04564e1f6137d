#define _POSIX_C_SOURCE 200809L
#include "instance.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pb.h"

static void free_buffer(uint8_t *data, size_t len, size_t owner) {
  (void)len, (void)owner;
  free(data);
}

void buffer_of(tether_buffer *buffer, struct bytes *bytes) {
  buffer->data = bytes->data;
  buffer->len = bytes->failed ? 0 : bytes->len;
  buffer->owner = 0;
  buffer->free = free_buffer;
}

/* Passes an answer to the host. The caller must hold no lock, because the host may call back. */
static void complete(const tether_host_api *host, uint64_t call, bool pull, struct bytes *out) {
  /* CallResponse{error: {kind: TRANSIENT}} and StreamEvent{error: {kind: TRANSIENT}}, for failed allocations. */
  static uint8_t no_memory[2][4] = {{0x0a, 0x02, 0x08, KIND_TRANSIENT}, {0x4a, 0x02, 0x08, KIND_TRANSIENT}};
  tether_buffer answer;
  buffer_of(&answer, out);
  if (out->failed) {
    bytes_free(out);
    answer.data = no_memory[pull];
    answer.len = sizeof no_memory[pull];
    answer.free = NULL;
  }
  host->complete(call, answer);
}

void answer_with_failure(const tether_host_api *host, uint64_t call, bool pull, int kind, const char *message) {
  struct failure why;
  struct bytes out = {0};
  fail(&why, kind, "%s", message);
  if (pull) {
    stream_failure(&out, &why);
  } else {
    answer_failure(&out, &why);
  }
  complete(host, call, pull, &out);
}

static void job_free(struct job *job) {
  if (job->bytes != NULL) {
    /* The message contained a key. */
    volatile char *bytes = job->bytes;
    for (size_t i = 0; i < job->bytes_len; i++) {
      bytes[i] = 0;
    }
    free(job->bytes);
  }
  free(job);
}

/* Removes a job from the list. The caller holds the lock. */
static void take_out(struct instance *instance, struct job *job) {
  struct job **at = &instance->jobs;
  while (*at != job) {
    at = &(*at)->next;
  }
  *at = job->next;
  job->next = NULL;
}

/* Releases the stream of a pull. The caller holds the lock. */
static struct stream *let_go(struct job *job) {
  struct stream *stream = job->stream;
  if (stream == NULL) {
    return NULL;
  }
  stream->pulling = false;
  return --stream->users == 0 ? stream : NULL;
}

/* Removes waiting jobs from the list: those that are cancelled or past their deadline, or all. The caller holds the
   lock. */
static struct job *take_waiting(struct instance *instance, int64_t now_us, bool all) {
  struct job *taken = NULL, **last = &taken, **at = &instance->jobs;
  while (*at != NULL) {
    struct job *job = *at;
    bool due = all || atomic_load(&job->cancelled) || (job->deadline_us != 0 && now_us > job->deadline_us);
    if (job->running || !due) {
      at = &job->next;
      continue;
    }
    *at = job->next;
    job->next = NULL;
    *last = job;
    last = &job->next;
  }
  return taken;
}

/* Answers jobs that were removed. The caller does not hold the lock. */
static void answer_taken(struct instance *instance, struct job *taken, int64_t now_us) {
  while (taken != NULL) {
    struct job *job = taken;
    taken = job->next;
    bool late = !atomic_load(&job->cancelled) && job->deadline_us != 0 && now_us > job->deadline_us;
    pthread_mutex_lock(&instance->lock);
    struct stream *last = let_go(job);
    pthread_mutex_unlock(&instance->lock);
    if (last != NULL) {
      stream_free(last, &instance->context);
    }
    answer_with_failure(instance->host, job->call, job->stream != NULL,
                        late ? KIND_DEADLINE_EXCEEDED : KIND_CANCELLED,
                        late ? "There was no answer in time." : "The call was cancelled.");
    job_free(job);
  }
}

/* Whether a running job should stop. Also handles the waiting jobs, because both threads may be busy. */
static bool should_stop(void *of, struct failure *why) {
  struct job *job = of;
  struct instance *instance = job->instance;
  int64_t now_us = instance->host->now_us();
  pthread_mutex_lock(&instance->lock);
  struct job *taken = take_waiting(instance, now_us, false);
  pthread_mutex_unlock(&instance->lock);
  answer_taken(instance, taken, now_us);
  if (atomic_load(&job->cancelled)) {
    fail(why, KIND_CANCELLED, "The call was cancelled.");
    return true;
  }
  if (job->deadline_us != 0 && now_us > job->deadline_us) {
    fail(why, KIND_DEADLINE_EXCEEDED, "There was no answer in time.");
    return true;
  }
  return false;
}

static void run_read(struct job *job, struct bytes *out) {
  struct instance *instance = job->instance;
  struct stream *stream = stream_new(job->request, job->deadline_us);
  if (stream == NULL) {
    out->failed = true;
    return;
  }
  pthread_mutex_lock(&instance->lock);
  stream->number = instance->next_stream++;
  stream->users = 1;
  stream->next = instance->streams;
  instance->streams = stream;
  uint64_t number = stream->number;
  pthread_mutex_unlock(&instance->lock);
  size_t response = pb_begin(out, CALL_READ);
  pb_number(out, 1, number);
  pb_end(out, response);
}

static void run(struct job *job, struct bytes *out) {
  struct instance *instance = job->instance;
  struct stop stop = {should_stop, job};
  struct failure why;
  if (job->stream != NULL) {
    stream_event(job->stream, &instance->context, stop, out);
  } else if (should_stop(job, &why)) {
    answer_failure(out, &why);
  } else if (job->kind == CALL_READ) {
    run_read(job, out);
  } else {
    answer_call(&instance->context, job->kind, job->request, stop, out);
  }
}

static struct job *next_waiting(const struct instance *instance) {
  struct job *job = instance->jobs;
  while (job != NULL && job->running) {
    job = job->next;
  }
  return job;
}

static void *work(void *of) {
  struct instance *instance = of;
  pthread_mutex_lock(&instance->lock);
  for (;;) {
    struct job *job = next_waiting(instance);
    if (job == NULL) {
      if (instance->closing) {
        break;
      }
      pthread_cond_wait(&instance->work, &instance->lock);
      continue;
    }
    job->running = true;
    pthread_mutex_unlock(&instance->lock);
    struct bytes out = {0};
    run(job, &out);
    pthread_mutex_lock(&instance->lock);
    take_out(instance, job);
    struct stream *last = let_go(job);
    pthread_mutex_unlock(&instance->lock);
    if (last != NULL) {
      stream_free(last, &instance->context);
    }
    complete(instance->host, job->call, job->stream != NULL, &out);
    job_free(job);
    pthread_mutex_lock(&instance->lock);
  }
  pthread_mutex_unlock(&instance->lock);
  return NULL;
}

/* Starts threads that block all signals, because signals are handled by the process. */
static bool start(struct instance *instance) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (instance->worker_count < WORKERS &&
         pthread_create(&instance->workers[instance->worker_count], NULL, work, instance) == 0) {
    instance->worker_count++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return instance->worker_count == WORKERS;
}

struct instance *instance_open(const tether_host_api *host, uint64_t host_number, struct text request,
                               struct failure *why) {
  struct instance *instance = calloc(1, sizeof *instance);
  if (instance == NULL) {
    fail(why, KIND_TRANSIENT, "There is no memory for the connector.");
    return NULL;
  }
  instance->host = host;
  instance->host_number = host_number;
  instance->next_stream = 1;
  pthread_mutex_init(&instance->lock, NULL);
  pthread_cond_init(&instance->work, NULL);
  instance->context.now_us = host->now_us;
  store_begin(&instance->context.store, &instance->context.options);
  if (options_read(&instance->context.options, request, why)) {
    if (start(instance)) {
      return instance;
    }
    fail(why, KIND_TRANSIENT, "There are no threads for the connector.");
  }
  instance_stop(instance);
  instance_free(instance);
  return NULL;
}

void instance_stop(struct instance *instance) {
  int64_t now_us = instance->host->now_us();
  pthread_mutex_lock(&instance->lock);
  instance->closing = true;
  struct job *taken = take_waiting(instance, now_us, true);
  for (struct job *job = instance->jobs; job != NULL; job = job->next) {
    atomic_store(&job->cancelled, true);
  }
  pthread_cond_broadcast(&instance->work);
  pthread_mutex_unlock(&instance->lock);
  answer_taken(instance, taken, now_us);
  for (size_t i = 0; i < instance->worker_count; i++) {
    pthread_join(instance->workers[i], NULL);
  }
  instance->worker_count = 0;
}

void instance_free(struct instance *instance) {
  while (instance->streams != NULL) {
    struct stream *stream = instance->streams;
    instance->streams = stream->next;
    stream_free(stream, &instance->context);
  }
  store_end(&instance->context.store);
  options_free(&instance->context.options);
  pthread_cond_destroy(&instance->work);
  pthread_mutex_destroy(&instance->lock);
  free(instance);
}

/* Appends a job to the list; returns false if the instance is closing. The caller holds the lock. */
static bool put(struct instance *instance, struct job *job) {
  if (instance->closing) {
    return false;
  }
  struct job **at = &instance->jobs;
  while (*at != NULL) {
    at = &(*at)->next;
  }
  *at = job;
  pthread_cond_signal(&instance->work);
  return true;
}

/* The number of the call in a CallRequest, and its message. */
static bool read_call(struct job *job) {
  struct text all = {job->bytes, job->bytes_len};
  struct pb_reader reader = pb_reader_of(all);
  struct pb_field field;
  while (pb_next(&reader, &field)) {
    if (field.number == 1) {
      job->deadline_us = (int64_t)field.value;
    } else if (field.number >= CALL_DESCRIBE && field.number <= CALL_PROVIDE_CREDENTIALS) {
      /* Other numbers belong to a later version of the contract: VER-3 of SPEC.md. */
      job->kind = field.number;
      job->request = field.text;
    }
  }
  return !reader.failed && pb_is_message(job->request);
}

void instance_call(struct instance *instance, uint64_t call, struct text request) {
  struct job *job = calloc(1, sizeof *job);
  char *bytes = job == NULL ? NULL : text_copy(request);
  if (bytes == NULL) {
    free(job);
    answer_with_failure(instance->host, call, false, KIND_TRANSIENT, "There is no memory for the call.");
    return;
  }
  job->call = call;
  job->instance = instance;
  job->bytes = bytes;
  job->bytes_len = request.len;
  if (!read_call(job)) {
    answer_with_failure(instance->host, call, false, KIND_BUG, "The host's request is no message.");
    job_free(job);
    return;
  }
  pthread_mutex_lock(&instance->lock);
  bool waits = put(instance, job);
  pthread_mutex_unlock(&instance->lock);
  if (!waits) {
    answer_with_failure(instance->host, call, false, KIND_CANCELLED, "The connector is being closed.");
    job_free(job);
  }
}

void instance_cancel(struct instance *instance, uint64_t call) {
  struct job *taken = NULL;
  pthread_mutex_lock(&instance->lock);
  for (struct job *job = instance->jobs; job != NULL; job = job->next) {
    if (job->call == call) {
      atomic_store(&job->cancelled, true);
      taken = take_waiting(instance, 0, false);
      break;
    }
  }
  pthread_mutex_unlock(&instance->lock);
  answer_taken(instance, taken, 0);
}

void instance_pull(struct instance *instance, uint64_t call, uint64_t number) {
  struct job *job = calloc(1, sizeof *job);
  int kind = KIND_CANCELLED;
  const char *why = "There is no such stream.";
  bool waits = false;
  pthread_mutex_lock(&instance->lock);
  struct stream *stream = instance->streams;
  while (stream != NULL && stream->number != number) {
    stream = stream->next;
  }
  if (stream != NULL && stream->pulling) {
    kind = KIND_BUG;
    why = "The stream is being pulled already.";
  } else if (stream != NULL && job == NULL) {
    kind = KIND_TRANSIENT;
    why = "There is no memory for the pull.";
  } else if (stream != NULL) {
    job->call = call;
    job->instance = instance;
    job->stream = stream;
    waits = put(instance, job);
    stream->pulling = waits;
    stream->users += waits;
  }
  pthread_mutex_unlock(&instance->lock);
  if (!waits) {
    free(job);
    answer_with_failure(instance->host, call, true, kind, why);
  }
}

void instance_close_stream(struct instance *instance, uint64_t number) {
  struct job *taken = NULL;
  pthread_mutex_lock(&instance->lock);
  struct stream **at = &instance->streams;
  while (*at != NULL && (*at)->number != number) {
    at = &(*at)->next;
  }
  struct stream *stream = *at, *last = NULL;
  if (stream != NULL) {
    *at = stream->next;
    for (struct job *job = instance->jobs; job != NULL; job = job->next) {
      if (job->stream == stream) {
        atomic_store(&job->cancelled, true);
        taken = take_waiting(instance, 0, false);
        break;
      }
    }
    last = --stream->users == 0 ? stream : NULL;
  }
  pthread_mutex_unlock(&instance->lock);
  if (last != NULL) {
    stream_free(last, &instance->context);
  }
  answer_taken(instance, taken, 0);
}
