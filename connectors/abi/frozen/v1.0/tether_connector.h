/*
 * tether_connector.h: what the tether host and a connector library agree on, version 1.
 *
 * A connector is a dynamic library that exports one function, tether_connector_v1. Everything that is said through the
 * tables below is a protobuf message of tether.connector.v1 (proto/tether/connector/v1/connector.proto); this header is
 * about how bytes get across. Connectors in Rust use the crate tether-connector-sdk and never see it.
 *
 * VERSIONS
 *   The major version is in the name of the symbol. A newer minor version only adds at the end of the tables. Each table
 *   begins with its size as its maker knows it; never read beyond the peer's size, never write beyond the room given.
 *   Optional abilities are named in the messages (OpenRequest.host_features, DescribeResponse.features), unknown names are
 *   ignored. A library that cannot work with a host says so from tether_connector_v1.
 *
 * LIFE
 *   load -> tether_connector_v1 -> open -> any number of calls and streams -> close. A library is never unloaded: its
 *   functions, and threads it has started, are good until the process ends. Several instances may be open at a time, and
 *   tether_connector_v1 may be called more than once.
 *
 * HANDLES
 *   Instances, calls and streams are numbers. Whoever gets one looks it up in a table of its own; one that is not there
 *   (closed, never given, made up) is ignored, or answered with an error where there is an answer. No pointer is ever
 *   handed out to be handed back.
 *
 * THREADS
 *   Every function of both tables may be called from any thread and at the same time as any other, and returns soon:
 *   within microseconds, without waiting for the network or for another call. open and close may take seconds; the host
 *   calls them on threads that may wait. close waits for the instance's own work, so it is never called from a thread of
 *   the library, and the library never calls complete while holding a lock that its own functions need.
 *
 * COMPLETIONS
 *   call and stream_next are answered through complete: exactly once, from any thread, maybe before the function has
 *   returned. From inside of complete the host may call any function of the library but open and close. The host ignores an
 *   answer it does not expect (a second one, one that is late), but frees its buffer. Deadlines stand in the request; the
 *   library keeps them, and the host gives up shortly after by itself. cancel asks for an early answer, best effort.
 *
 * STREAMS
 *   A stream is opened by a call (ReadRequest) and pulled with stream_next, one pull at a time. The library may prepare a
 *   few events ahead, never an unbounded number. After the last event (End, Error) the host calls stream_close; it may do
 *   so at any other time too.
 *
 * MEMORY
 *   A tether_slice is borrowed: it is valid until the function that it was given to returns. A tether_buffer is owned by
 *   whoever holds it: it is read by any number of threads, then freed once, on any thread, by calling its free with its
 *   other members. A buffer with a null free needs no freeing. Data of length 0 may be null.
 *
 * FAILURES
 *   Neither side lets an exception or a panic leave its functions. A library that has caught one in an instance's code
 *   answers that call with an error of the kind BUG, answers every later call of that instance the same way, and says
 *   TETHER_EVENT_POISONED. The host then closes the instance and opens another.
 */
#ifndef TETHER_CONNECTOR_H
#define TETHER_CONNECTOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TETHER_CONNECTOR_MINOR 0

/* What open and tether_connector_v1 return. */
#define TETHER_OK 0
/* err has an encoded tether.connector.v1.Error. */
#define TETHER_ERROR 1

/* Levels of log lines. */
#define TETHER_LOG_ERROR 1
#define TETHER_LOG_WARN 2
#define TETHER_LOG_INFO 3
#define TETHER_LOG_DEBUG 4
#define TETHER_LOG_TRACE 5

/* Events told through notify. */
#define TETHER_EVENT_POISONED 1

/* Borrowed bytes. */
typedef struct tether_slice {
  const uint8_t *data;
  size_t len;
} tether_slice;

/* Owned bytes. */
typedef struct tether_buffer {
  uint8_t *data;
  size_t len;
  /* Whatever its maker needs to free it. */
  uintptr_t owner;
  void (*free)(uint8_t *data, size_t len, uintptr_t owner);
} tether_buffer;

/* What the host offers. Copied by the library during the handshake; the functions are good until the process ends. */
typedef struct tether_host_api {
  uint32_t struct_size;
  uint32_t minor;
  /* The least important level that is kept; what is below need not be sent. */
  uint32_t max_log_level;
  uint32_t reserved;
  /* Answers a call with an encoded CallResponse, a pull with an encoded StreamEvent. Takes the buffer. */
  void (*complete)(uint64_t call, tether_buffer answer);
  /* Logs a line of UTF-8 without secrets. instance is the number that the host gave at open, 0 for none. */
  void (*log)(uint64_t instance, uint32_t level, tether_slice target, tether_slice message);
  /* Now, in unix microseconds. */
  int64_t (*now_us)(void);
  /* Tells an event of an instance, by the number that the host gave at open. */
  void (*notify)(uint64_t instance, uint32_t event);
} tether_host_api;

/* What a library offers. All six functions are there. */
typedef struct tether_connector_api {
  /* In: the room there is. Out: what is filled. */
  uint32_t struct_size;
  uint32_t minor;
  /* Opens an instance with an encoded OpenRequest. host_instance is what the host calls it. On TETHER_OK *out is a number
     other than 0, on TETHER_ERROR *err is filled. */
  int32_t (*open)(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err);
  /* Starts a call with an encoded CallRequest. The host uses each number once in the process, for calls and pulls. */
  void (*call)(uint64_t instance, uint64_t call, tether_slice request);
  /* Asks for an early answer to a call or pull. Idempotent; a cancelled pull loses no event. */
  void (*cancel)(uint64_t instance, uint64_t call);
  /* Asks for the next event of a stream with an encoded StreamNext. */
  void (*stream_next)(uint64_t instance, uint64_t call, uint64_t stream, tether_slice request);
  /* Ends a stream. Idempotent. An open pull of it is answered. */
  void (*stream_close)(uint64_t instance, uint64_t stream);
  /* Closes an instance. Idempotent. Answers all open calls before it returns; none is answered after. */
  void (*close)(uint64_t instance);
} tether_connector_api;

/* The exported function. host and out_api are valid until it returns. On TETHER_ERROR *err is filled and *out_api is not
   read. */
typedef int32_t (*tether_connector_entry)(const tether_host_api *host, tether_connector_api *out_api,
                                          tether_buffer *err);
int32_t tether_connector_v1(const tether_host_api *host, tether_connector_api *out_api, tether_buffer *err);

#ifdef __cplusplus
}
#endif

#endif
