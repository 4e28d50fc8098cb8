// Dates of conversations, in the browser's own time zone.

const DAY = 86400e3;
const LANGUAGE = navigator.language.startsWith("en") ? navigator.language : "en-GB"; // the page is in English

/**
 * Return the calendar days from a time to now: 0 for today, and for times in the future.
 * @param {number} seconds since 1970
 * @param {Date} [now]
 * @returns {number}
 */
export function daysSince(seconds, now = new Date()) {
  const then = new Date(seconds * 1000);
  const [from, to] = [then, now].map((day) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate())); // UTC has no days of 23 hours
  return Math.max(0, Math.round((to - from) / DAY));
}

/**
 * Return the heading under which a conversation is listed.
 * @param {number} seconds since 1970
 * @param {Date} [now]
 * @returns {string}
 */
export function groupOf(seconds, now = new Date()) {
  const days = daysSince(seconds, now);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days <= 7) return "Previous 7 days";
  if (days <= 30) return "Previous 30 days";
  return new Date(seconds * 1000).toLocaleDateString(LANGUAGE, { month: "long", year: "numeric" });
}

/**
 * Return a time in a few characters: the hour, the day of the week, the day of the year, or the month.
 * @param {number} seconds since 1970
 * @param {Date} [now]
 * @returns {string}
 */
export function shortTime(seconds, now = new Date()) {
  const then = new Date(seconds * 1000);
  const days = daysSince(seconds, now);
  if (days === 0) return then.toLocaleTimeString(LANGUAGE, { hour: "numeric", minute: "2-digit" });
  if (days < 7) return then.toLocaleDateString(LANGUAGE, { weekday: "short" });
  if (then.getFullYear() === now.getFullYear()) return then.toLocaleDateString(LANGUAGE, { day: "numeric", month: "short" });
  return then.toLocaleDateString(LANGUAGE, { month: "short", year: "numeric" });
}

/**
 * Return a time with its date and day of the week.
 * @param {number} seconds since 1970
 * @returns {string}
 */
export function fullTime(seconds) {
  return new Date(seconds * 1000).toLocaleString(LANGUAGE, { dateStyle: "full", timeStyle: "short" });
}
