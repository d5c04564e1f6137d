/* Never returns from the handshake. */
#define ENTRY hang()
#include "base.h"
#include "entry.h"
