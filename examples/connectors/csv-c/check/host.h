/* A host for the checks: it makes calls and waits for their answers. */
#ifndef HOST_H
#define HOST_H

#include "bytes.h"
#include "tether_connector.h"

#define CHECK(what)                                                                                                    \
  do {                                                                                                                 \
    if (!(what)) {                                                                                                     \
      check_failed(__FILE__, __LINE__, #what);                                                                         \
    }                                                                                                                  \
  } while (0)
void check_failed(const char *file, int line, const char *what);

extern tether_connector_api api;

/* Shakes hands. */
void host_begin(void);
/* Opens an instance with settings, ended by a null key; 0 where it refuses, with the kind and message of its error. */
uint64_t host_open(const char *const *settings, int *kind);
/* A number for a call. */
uint64_t host_number(void);
/* The answer of a number, once; to be freed by bytes_free. */
struct bytes host_wait(uint64_t call);
/* Whether it is there. */
bool host_has(uint64_t call);
/* A call with a message, and its answer. */
struct bytes host_call(uint64_t instance, uint32_t kind, const struct bytes *message, int64_t deadline_us);
/* Encodes a CallRequest. */
struct bytes host_request(uint32_t kind, const struct bytes *message, int64_t deadline_us);
/* A pull, and its event. */
struct bytes host_pull(uint64_t instance, uint64_t stream);
/* Unix microseconds. */
int64_t host_now(void);

/* The one member of an answer or event: its number, with its message. */
uint32_t member(const struct bytes *answer, struct text *message);
/* The kind of the error that an answer is; 0 where it is none. */
int error_kind(const struct bytes *answer);

#endif
