// The template of which fmt/format.h below this folder says that it is in the library. The library is GCC's,
// and clang spells this one's name differently in object files, so a build by clang has one of its own.
#include <fmt/format.h>

#ifdef __clang__
namespace fmt {
inline namespace v9 {
namespace detail {

template void vformat_to<char>(buffer<char>&, string_view, basic_format_args<FMT_BUFFER_CONTEXT(char)>,
                               locale_ref);

}  // namespace detail
}  // namespace v9
}  // namespace fmt
#endif
