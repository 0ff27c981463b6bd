// The replaceable forms of operator new and delete as a program has them that the library is linked
// into: weak, so that it may define its own. Not so in a preloaded library, where valgrind replaces
// strong ones only.

#define HARDENED_FORM [[gnu::visibility("default"), gnu::weak]]

#include "hardened/shim/new_delete_forms.h"
