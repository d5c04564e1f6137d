/* None: the base without changes. */
#include "base.h"
#include "entry.h"
