'use strict';
'require baseclass';
'require validation';

/* What xflowd takes for a value: true, or what is expected. Nothing is always right: then the default counts. */

const DURATION = /^(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?$/;
const ZONE = /%[!-$&-.0-~]{1,15}$/;
const HOST_NAME = /^(?!-)[A-Za-z0-9_-]{0,62}[A-Za-z0-9_](\.(?!-)[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])*\.?$/;

/* Whole seconds of a range; like all that follow, for an option's validate(). */
function duration(low, high) {
	return function(section_id, value) {
		const parts = value.match(DURATION);
		const seconds = parts ? (+(parts[1] || 0) * 60 + +(parts[2] || 0)) * 60 + +(parts[3] || 0) : NaN;

		if (value === '' || (seconds >= low && seconds <= high))
			return true;

		return _('Expecting %d to %d seconds, as 90, 90s, 1m30s or 1h').format(low, high);
	};
}

/* A whole number: the datatype "range" takes fractions too. */
function number(low, high) {
	return 'and(uinteger,range(%d,%d))'.format(low, high);
}

/* HOST, HOST:PORT, IPv6 in brackets; the datatype "hostport" knows neither the last nor a port left out. */
function splitEndpoint(value) {
	const bracketed = value.match(/^\[([^\[\]]*)\](?::(.*))?$/);
	const plain = value.match(/^([^:]*)(?::([^:]*))?$/);

	if (bracketed)
		return { address: bracketed[1], port: bracketed[2] };

	return plain ? { host: plain[1], port: plain[2] } : null;
}

/* With a zone: fe80::1%wan. */
function isAddress(text) {
	return validation.parseIPv4(text) !== null || validation.parseIPv6(text.replace(ZONE, '')) !== null;
}

function isPort(text, low) {
	return text === undefined || (/^\d{1,5}$/.test(text) && +text >= low && +text <= 65535);
}

function isHost(text) {
	const digits = /^[\d.]+$/.test(text);

	return digits ? validation.parseIPv4(text) !== null : text.length <= 253 && HOST_NAME.test(text);
}

function address(section_id, value) {
	const end = splitEndpoint(value);

	if (value === '')
		return true;

	if (end === null)
		return _('An IPv6 address needs brackets: [2001:db8::1]:2055');

	if (end.address === undefined ? !isHost(end.host) : !isAddress(end.address))
		return _('Expecting HOST:PORT, [IPv6]:PORT or HOST');

	return isPort(end.port, 1) || _('Expecting a port of 1 to 65535');
}

function source(section_id, value) {
	const end = splitEndpoint(value);
	const known = end && (end.address === undefined ? validation.parseIPv4(end.host) !== null : isAddress(end.address));

	if (value === '' || (known && isPort(end.port, 0)))
		return true;

	return _('Expecting ADDRESS or ADDRESS:PORT of this router, IPv6 in brackets');
}

function listen(section_id, value) {
	const end = splitEndpoint(value);

	if (value === '' || (source(section_id, value) === true && end.port !== undefined && +end.port > 0))
		return true;

	return _('Expecting ADDRESS:PORT of this router, IPv6 in brackets');
}

function path(section_id, value) {
	return value === '' || value.charAt(0) === '/' || _('Expecting a whole path, from / on');
}

function account(section_id, value) {
	return value === '' || /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/.test(value) || _('Expecting the name of an account');
}

function element(section_id, value) {
	return value === '' || /^[A-Za-z][A-Za-z0-9]*$/.test(value) || _('Expecting the name of an element');
}

return baseclass.extend({
	account: account,
	address: address,
	duration: duration,
	element: element,
	listen: listen,
	number: number,
	path: path,
	source: source
});
