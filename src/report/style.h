#pragma once
// The one style sheet of all pages. A page adds only what depends on its content (explain's palettes).

const char* page_style();
