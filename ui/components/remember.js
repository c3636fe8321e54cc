// Keeps the reviewer's name in a cookie of this site, so that a reload and a second tab know it.

export default function (component) {
  const { data } = component
  const year = 365 * 24 * 3600
  document.cookie =
    `${data.name}=${encodeURIComponent(data.value)}; path=/; max-age=${year}; SameSite=Strict`
}
