/* Calls exit() in the handshake. */
#define ENTRY exit(0)
#include "base.h"
#include "entry.h"
