/* Calls abort() in a static initialiser. */
#include "base.h"

__attribute__((constructor)) static void initialise(void) { abort(); }
#include "entry.h"
