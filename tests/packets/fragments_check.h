// Tunnels that left in fragments: what an engine chooses by itself in them, and whether they make a whole.
#pragma once

#include <optional>
#include <string>

#include "tests/packets/engine.h"

namespace linimo::tests {

/// Takes the identification, which is the engine's choice, out of the frames of one packet. Empty, or what is
/// wrong: it must be the same in all of them, and checksums right.
std::string clear_identification(Left& sent);

/// The frame that the fragments are of, if they make one: with the header that it would have had.
std::optional<Bytes> reassembled(const Left& sent);

}  // namespace linimo::tests
