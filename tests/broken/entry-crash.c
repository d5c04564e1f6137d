/* Crashes in the handshake. */
#define ENTRY crash()
#include "base.h"
#include "entry.h"
