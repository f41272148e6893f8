// Links to sources are relative to docs/, where the pages are read in a repository. The built book is
// one directory deeper.
for (const link of document.querySelectorAll('main a[href^="../"]')) {
    link.setAttribute("href", "../" + link.getAttribute("href"));
}
