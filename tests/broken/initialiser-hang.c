/* Never returns from a static initialiser. */
#include "base.h"

__attribute__((constructor)) static void initialise(void) { hang(); }
#include "entry.h"
